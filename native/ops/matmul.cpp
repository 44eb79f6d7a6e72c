#include "ops/matmul.h"

#include <algorithm>
#include <cstring>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Every chunk reads the whole other operand, so it has to have some rows (or columns) of its own.
constexpr int64_t kChunkRows = 48;

// Rows of the right-hand side that are packed into one panel after the other.
constexpr int64_t kRowsAtOnce = 8;

// Rows of a transposed product at once: a multiple of every register tile's sides.
constexpr int64_t kTransposedRows = 96;
// Columns of the widest of these tiles.
constexpr int64_t kMostColumns = 32;

}  // namespace

RightSide in_place(const float* b, int64_t n, const Context& context) { return {b, n, context.kernels.f32->gemm_columns, false}; }

RightSide pack(int64_t k, int64_t n, const float* b, bool transposed, float* packed, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const int64_t columns = kernels.gemm_columns, panels = (n + columns - 1) / columns;
  const auto width = [&](int64_t panel) { return std::min(columns, n - panel * columns); };
  // Cut along what lies in memory one after the other.
  if (transposed) {
    const Chunks chunks = chunks_of(panels, kChunkElements / (k * columns) + 1);
    context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      for (int64_t panel = chunks.begin(chunk); panel < chunks.end(chunk); ++panel) {
        const int64_t at = panel * columns * k;
        kernels.pack_transposed(k, width(panel), b + at, k, packed + at);
      }
    });
  } else {
    const Chunks chunks = chunks_of(k, kChunkElements / n + 1, kRowsAtOnce);
    context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      for (int64_t l = chunks.begin(chunk); l < chunks.end(chunk); l += kRowsAtOnce) {
        const int64_t rows = std::min(kRowsAtOnce, chunks.end(chunk) - l);
        for (int64_t panel = 0; panel < panels; ++panel) {
          kernels.pack_panel(rows, width(panel), b + l * n + panel * columns, n, packed + (panel * k + l) * columns);
        }
      }
    });
  }
  return {packed, columns, columns * k, true};
}

void chunked_gemm(int64_t m, int64_t n, int64_t k, const LeftSide& a, const RightSide& b, const float* bias, Activation activation,
                  float* c, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const bool by_columns = n > m;
  const int64_t step = by_columns ? kernels.gemm_columns : kernels.gemm_rows;
  const int64_t products = (by_columns ? m : n) * k;  // of one row or column
  const Chunks chunks = chunks_of(by_columns ? n : m, std::max(kChunkProducts / products + 1, kChunkRows), step);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t begin = chunks.begin(chunk), length = chunks.length(chunk);
    const int64_t i = by_columns ? 0 : begin, j = by_columns ? begin : 0;
    GemmBlock block{by_columns ? m : length,
                    by_columns ? length : n,
                    k,
                    a.data + i * a.row,
                    a.row,
                    a.k,
                    b.data + j / kernels.gemm_columns * b.panel,
                    b.row,
                    b.panel,
                    b.padded,
                    c + i * n + j,
                    n,
                    false,
                    bias == nullptr ? nullptr : bias + j,
                    activation_low(activation),
                    activation_high(activation)};
    if (by_columns || a.k != 1) block.instead_of_a = block.instead_of_b = nothing_upcoming(a.data);
    kernels.gemm(block);
  });
}

void gemm_few_rows(int64_t m, int64_t n, int64_t k, const float* a, const float* b, Gemm gemm, float* packed, float* c,
                   const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const RightSide right = pack(k, m, a, true, packed, context);
  const Chunks chunks = chunks_of(n, kChunkProducts / (m * k) + 1, kChunkRows);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    alignas(64) float product[kTransposedRows * kFewRows], panel[kFewRows * kMostColumns];
    for (int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += kTransposedRows) {
      const int64_t rows = std::min(kTransposedRows, chunks.end(chunk) - first);
      gemm({rows, m, k, b + first * k, k, 1, right.data, right.row, right.panel, right.padded, product, m, false, nullptr, -kInfinity,
            kInfinity});
      for (int64_t done = 0; done < rows; done += kernels.gemm_columns) {
        const int64_t columns = std::min<int64_t>(kernels.gemm_columns, rows - done);
        kernels.pack_transposed(m, columns, product + done * m, m, panel);
        for (int64_t i = 0; i < m; ++i) {
          std::memcpy(c + i * n + first + done, panel + i * kernels.gemm_columns, sizeof(float) * columns);
        }
      }
    }
  });
}

size_t matmul_workspace(const MatmulShape& s, int) {
  Carver workspace(nullptr);
  if (s.transpose_b || is_worth_packing(s.m, s.n)) workspace.take<float>(packed_floats(s.k, s.n));
  return workspace.used();
}

void matmul(const MatmulShape& s, const float* a, const float* b, const float* bias, Activation activation, float* c,
            const Context& context) {
  const LeftSide left = s.transpose_a ? LeftSide{a, 1, s.m} : LeftSide{a, s.k, 1};
  const RightSide right = s.transpose_b || is_worth_packing(s.m, s.n)
                              ? pack(s.k, s.n, b, s.transpose_b, static_cast<float*>(context.workspace), context)
                              : in_place(b, s.n, context);
  chunked_gemm(s.m, s.n, s.k, left, right, bias, activation, c, context);
}

size_t dense_workspace(int64_t max_rows, int64_t in, int64_t out, int threads) {
  return std::max({matmul_workspace({max_rows, out, in}, threads), matmul_workspace({max_rows, in, out, false, true}, threads),
                   matmul_workspace({in, out, max_rows, true, false}, threads)});
}

void dense_forward(int64_t rows, int64_t in, int64_t out, const float* x, const float* kernel, const float* bias, Activation activation,
                   float* y, const Context& context) {
  matmul({rows, out, in}, x, kernel, bias, activation, y, context);
}

void dense_backward_input(int64_t rows, int64_t in, int64_t out, const float* dy, const float* kernel, float* dx, const Context& context) {
  if (has_few_rows(rows, in)) {
    return gemm_few_rows(rows, in, out, dy, kernel, context.kernels.f32->gemm, static_cast<float*>(context.workspace), dx, context);
  }
  matmul({rows, in, out, false, true}, dy, kernel, nullptr, Activation::none, dx, context);
}

void dense_backward_kernel(int64_t rows, int64_t in, int64_t out, const float* x, const float* dy, float* d_kernel, float* d_bias,
                           const Context& context) {
  matmul({in, out, rows, true, false}, x, dy, nullptr, Activation::none, d_kernel, context);
  if (d_bias != nullptr) context.pool.parallel_for(1, [&](int64_t) { context.kernels.f32->column_sums(rows, out, dy, d_bias); });
}

}  // namespace pcqat
