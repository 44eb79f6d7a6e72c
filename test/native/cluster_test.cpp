// One pass of clustering against the exact search, on every instruction set: codebooks of every shape and weights that a
// search could get wrong.
#include <cmath>
#include <limits>

#include "check.h"
#include "compression/codebook.h"
#include "compression/codebook_search.h"

namespace pcqat::test {
namespace {

// One call of a clustering kernel with one codebook.
struct ClusterCase {
  std::vector<float> book;  // and up to a power of two
  std::vector<char> memory, arranged;
  Codebook prepared;
  float* tree_values = nullptr;
  uint64_t* pairs = nullptr;

  explicit ClusterCase(std::vector<float> centroids) : book(std::move(centroids)) {
    const int64_t k = static_cast<int64_t>(book.size());
    book.resize(static_cast<size_t>(register_table_size(k)));
    memory.resize(codebook_bytes(k, 0) + 64);
    arranged.resize(static_cast<size_t>(arranged_bytes(k)) + 64);
    const auto aligned = [](std::vector<char>& bytes) {
      return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
    };
    prepared = prepare_codebook(book.data(), k, 0, aligned(memory));
    if (prepared.levels > 0) arrange_by_path(prepared, book.data(), tree_values = static_cast<float*>(aligned(arranged)));
    if (prepared.levels == 0 && prepared.grid.cells > 0)
      arrange_pairs(prepared, book.data(), pairs = static_cast<uint64_t*>(aligned(arranged)));
  }

  bool is_right(const Kernels& kernels, const std::vector<float>& w) const {
    return is_right(kernels, w, false) && (book.size() > 256 || is_right(kernels, w, true));
  }

  bool is_right(const Kernels& kernels, const std::vector<float>& w, bool small) const {
    std::vector<int32_t> indices(w.size(), -1);
    std::vector<uint8_t> small_indices(small ? w.size() : 0, 255);
    std::vector<float> used(w.size(), 7), low{0}, high{0};
    float lowest = 0, highest = 0;
    ChainViolations violations;
    const ClusterBlock block{&prepared,
                             book.data(),
                             book.data(),
                             tree_values,
                             pairs,
                             w.data(),
                             nullptr,
                             small ? nullptr : indices.data(),
                             small_indices.data(),
                             used.data(),
                             false,
                             low.data(),
                             high.data(),
                             &violations};
    kernels.compression->cluster(static_cast<int64_t>(w.size()), block);
    if (small) indices.assign(small_indices.begin(), small_indices.end());
    bool right = violations.zeros == 0 && violations.clusters == 0;
    for (size_t i = 0; i < w.size(); ++i) {
      right = right && indices[i] == nearest_exact(prepared, 0, w[i]) && used[i] == book[static_cast<size_t>(indices[i])];
      lowest = std::fmin(lowest, used[i]);
      highest = std::fmax(highest, used[i]);
    }
    return right && low[0] == lowest && high[0] == highest;
  }
};

// A table that is not the codebook's is noticed, and the weights come from the codebook all the same.
void test_broken_tables(Checks& checks) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  Random random(78);
  for (const int64_t k : {4, 16, 32, 64, 100, 600}) {
    ClusterCase c(random.floats(k));
    const std::vector<float> w = random.floats(203);
    for (int64_t i = 0; c.tree_values != nullptr && i < register_table_size(k); ++i) {
      c.tree_values[i] = std::nextafter(c.tree_values[i], 2.0f);
    }
    if (c.pairs != nullptr) c.pairs[k / 2] += uint64_t{1} << 32;
    checks.check(k <= 64 ? c.tree_values != nullptr : c.pairs != nullptr, "a fast search for k " + std::to_string(k));
    for (int t = 0; t < count; ++t) {
      checks.check(c.is_right(*tables[t], w), "clustering with a broken table, k " + std::to_string(k) + " on " + tables[t]->isa);
    }
  }
}

// Weights at, just below and just above every threshold, where a search could be off by one, and numbers of every other kind.
std::vector<float> weights_around(const Codebook& book, Random& random) {
  std::vector<float> w{0.0f, -0.0f, 1e-42f, -1e-42f, 1e-38f, -1e-38f};
  for (int64_t i = 0; i + 1 < book.count[0]; ++i) {
    const float t = book.thresholds[i];
    for (const float near : {std::nextafter(t, -9.0f), t, std::nextafter(t, 9.0f)}) w.push_back(near);
  }
  for (const float other : random.floats(100)) w.push_back(3 * other);
  return w;
}

void test_searches(Checks& checks) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  Random random(79);
  for (const int64_t k : {2, 16, 33, 64, 65, 100, 128, 256, 1000, 1024, 5000, 20000}) {
    std::vector<float> even, clumped, front, far = random.floats(k), tiny;
    for (int64_t i = 0; i < k; ++i) {
      const float place = static_cast<float>(i - k / 2) / static_cast<float>(k);
      even.push_back(place);
      clumped.push_back(i % 40 < 4 ? place * 1e-5f : place);  // several thresholds in a cell
      // Eight thresholds in the first cell and one in each of the next: more below a cell than there are cells.
      front.push_back(i < 8 ? -0.5f + static_cast<float>(i) * 1e-6f : i < 40 ? -0.5f + static_cast<float>(i - 7) / 2048 : place);
      tiny.push_back(place * 1e-37f);  // denormals among the thresholds
    }
    far[0] = 1e6f;  // all other thresholds would lie in one cell
    const std::pair<const char*, std::vector<float>> books[] = {
        {"even", even}, {"clumped", clumped}, {"front", front}, {"random", random.floats(k)}, {"far", far}, {"tiny", tiny}};
    for (const auto& [name, book] : books) {
      const ClusterCase c(book);
      if (book == far && k > 64 && k <= 16384) checks.check(c.prepared.grid.cells > 0, "a grid beside a far centroid");
      std::vector<float> w = weights_around(c.prepared, random);
      const std::string what = std::string("clustering with ") + std::to_string(k) + " " + name + " centroids on ";
      for (int t = 0; t < count; ++t) {
        checks.check(c.is_right(*tables[t], w), what + tables[t]->isa);
        std::vector<float> strange = w;
        strange[5] = std::nanf("");
        strange[40 % strange.size()] = 1e30f;
        strange.back() = -std::numeric_limits<float>::infinity();
        checks.check(c.is_right(*tables[t], strange), what + tables[t]->isa + ", numbers that no threshold decides");
      }
    }
  }
}

}  // namespace

void test_cluster(Checks& checks) {
  test_broken_tables(checks);
  test_searches(checks);
}

}  // namespace pcqat::test
