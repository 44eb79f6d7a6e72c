// The fused weight chain against its definition: every combination of options, on every instruction set and with 1, 2 and
// 4 threads. Everything is equal to the bit except the centroid gradients, whose sums have an error bound and the same
// bits everywhere.
#include "compression/weight_chain.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "check.h"
#include "optim/optimizer.h"
#include "weight_chain_reference.h"

namespace pcqat::test {
namespace {

ChainState make_state(Random& random, const ChainOptions& o, int64_t rows, int64_t channels) {
  const int64_t size = rows * channels, codebooks = o.codebook_per_channel ? channels : 1;
  ChainState s{};
  s.rows = rows;
  s.channels = channels;
  s.weight = random.floats(size);
  for (int64_t i = 0; i < size; i += 11) s.weight[static_cast<size_t>(i)] = static_cast<float>(random.between(-4, 4)) / 4;  // ties
  s.used.assign(static_cast<size_t>(size), 7);
  for (int64_t i = 0; i < size; ++i) s.mask.push_back(random.between(0, 2) != 0);
  if (o.k > 0) {
    s.centroids = random.floats(codebooks * o.k);
    for (size_t j = 3; j < s.centroids.size(); j += 4) s.centroids[j] = s.centroids[j - 1];  // duplicates
    for (size_t j = 1; j < s.centroids.size(); j += 5) s.centroids[j] = static_cast<float>(random.between(-2, 2)) / 2;
    s.indices.assign(static_cast<size_t>(size), -1);
    for (int64_t row = 0; row < codebooks; ++row) s.zero_index.push_back(static_cast<int32_t>(random.between(-1, o.k - 1)));
  }
  if (o.extreme) {
    for (int64_t i = 0; i < size; i += 37) s.weight[static_cast<size_t>(i)] = i % 2 == 0 ? 3e9f : -1e30f;
    for (size_t j = 4; j < s.centroids.size(); j += 9) s.centroids[j] = std::nextafter(s.centroids[j - 1], 2.0f);
  }
  const size_t ranges = o.range == ChainOptions::no_range ? 0 : o.range == ChainOptions::tensor_range ? 1 : static_cast<size_t>(channels);
  const bool starts_anew = o.rule.update == RangeUpdate::last_value;
  s.min.assign(ranges, starts_anew ? 5.0f : -0.75f);
  s.max.assign(ranges, starts_anew ? 5.0f : 0.625f);
  return s;
}

WeightChain bind(ChainState& s, const ChainOptions& o, bool small_indices) {
  WeightChain c;
  c.size = s.rows * s.channels;
  c.channels = s.channels;
  c.weight = s.weight.data();
  c.used = s.used.data();
  if (o.mask != ChainOptions::no_mask) c.mask = s.mask.data();
  c.mask_gradient = o.mask == ChainOptions::mask_gradient;
  if (o.k > 0) {
    c.centroids = s.centroids.data();
    c.indices = s.indices.data();
    c.k = o.k;
    c.codebook_per_channel = o.codebook_per_channel;
    if (o.pin != ChainOptions::no_pin) c.zero_index = s.zero_index.data();
    c.zero_pin_equal = o.pin == ChainOptions::pin_equal;
    c.average = o.average;
  }
  if (o.range != ChainOptions::no_range) {
    c.min = s.min.data();
    c.max = s.max.data();
    c.range_per_channel = o.range == ChainOptions::channel_range;
    c.rule = o.rule;
  }
  if (small_indices && takes_small_indices(c)) {
    s.small_indices.assign(s.indices.size(), 255);
    c.small_indices = s.small_indices.data();
    s.table.assign(static_cast<size_t>(c.k), 7);
    c.table = s.table.data();
    c.indices = nullptr;
  }
  return c;
}

std::string describe(const ChainOptions& o, int64_t rows, int64_t channels) {
  const auto number = [](int64_t v) { return std::to_string(v); };
  return "weight chain " + number(rows) + "x" + number(channels) + " mask " + number(o.mask) + " k " + number(o.k) +
         (o.codebook_per_channel ? " per channel" : "") + " pin " + number(o.pin) + (o.average ? " average" : "") + " range " +
         number(o.range) + " update " + number(static_cast<int64_t>(o.rule.update)) + (o.rule.symmetric ? " symmetric" : "") +
         (o.rule.narrow_range ? " narrow" : "") + " bits " + number(o.rule.bits) + (o.training ? "" : " inference");
}

// Equal numbers; −0 and +0 are the same.
bool same(const std::vector<float>& a, const std::vector<float>& b) { return a == b; }

class Harness {
 public:
  explicit Harness(Checks& checks) : checks_(checks) {
    const Kernels* tables[kMostKernels];
    const int count = supported_kernels(tables);
    tables_.assign(tables, tables + count);
    for (const int threads : {1, 2, 4}) pools_.push_back(std::make_unique<ThreadPool>(threads));
  }

  void run(const ChainOptions& o, int64_t rows, int64_t channels, uint64_t seed) {
    Random random(seed);
    const ChainState start = make_state(random, o, rows, channels);
    const std::vector<float> d_used = random.floats(rows * channels);
    ChainState expected = start;
    reference_forward(expected, o);
    const ChainGradient gradient = reference_backward(expected, o, d_used);
    if (!o.training) expected.centroids = start.centroids;
    const int64_t nonzero =
        reference_violations(rows, channels, expected.used.data(), o.mask == ChainOptions::no_mask ? nullptr : expected.mask.data(), {})
            .zeros;
    std::vector<float> first_sums;
    for (const Kernels* kernels : tables_) {
      for (const auto& pool : pools_) {
        const std::string what = describe(o, rows, channels) + " on " + kernels->isa + ", " + std::to_string(pool->threads()) + " threads";
        ChainState s = start;
        const WeightChain chain = bind(s, o, pool->threads() != 2);
        const size_t bytes = (weight_chain_workspace(chain, pool->threads()) + 127) / 64 * 64;
        const std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(64, bytes), &std::free);
        std::memset(workspace.get(), 0xff, bytes);
        const ChainViolations found = weight_chain_forward(chain, o.training, workspace.get(), *kernels, *pool);
        checks_.check(found.zeros == nonzero && found.clusters == 0, what + ": masked weights that are not 0");
        const auto found_indices = [&] {
          return chain.small_indices == nullptr ? s.indices : std::vector<int32_t>(s.small_indices.begin(), s.small_indices.end());
        };
        const bool forward = same(s.used, expected.used) && found_indices() == expected.indices && same(s.min, expected.min) &&
                             same(s.max, expected.max) && same(s.weight, start.weight) && same(s.centroids, expected.centroids);
        checks_.check(forward, what + ": forward");
        bool entries = true;
        for (size_t i = 0; i < s.small_indices.size(); ++i) entries = entries && s.table[s.small_indices[i]] == s.used[i];
        checks_.check(entries, what + ": used weights are entries of the table");
        if (o.rule.update == RangeUpdate::last_value || o.rule.update == RangeUpdate::none) {
          // A second time, when the range is as last time.
          std::fill(s.used.begin(), s.used.end(), 7.0f);
          std::fill(s.indices.begin(), s.indices.end(), -1);
          std::fill(s.small_indices.begin(), s.small_indices.end(), uint8_t{255});
          weight_chain_forward(chain, o.training, workspace.get(), *kernels, *pool);
          checks_.check(
              same(s.used, expected.used) && found_indices() == expected.indices && same(s.min, expected.min) && same(s.max, expected.max),
              what + ": forward again");
        }

        std::memset(workspace.get(), 0xff, bytes);  // other operators use it in between
        std::vector<float> d_weight = d_used, sums(gradient.centroids.size(), 3);
        // In place with the last thread count, as the executor does.
        const float* dy = pool->threads() == 4 ? d_weight.data() : d_used.data();
        const double squares = weight_chain_backward(chain, dy, d_weight.data(), sums.data(), workspace.get(), *kernels, *pool);
        checks_.check(same(d_weight, gradient.weight), what + ": gradient of the weight");
        const double all = std::inner_product(d_weight.begin(), d_weight.end(), d_weight.begin(), 0.0, std::plus<>(),
                                              [](float a, float b) { return static_cast<double>(a) * static_cast<double>(b); });
        checks_.check(std::fabs(squares - all) <= sum_bound(static_cast<double>(d_weight.size()), all), what + ": squares of the gradient");
        bool close = true;
        for (size_t j = 0; j < sums.size(); ++j) {
          const double terms = static_cast<double>(std::max<int64_t>(gradient.members[j], 1));
          close = close && std::fabs(sums[j] - gradient.centroids[j]) <= sum_bound(terms, gradient.magnitude[j]);
        }
        checks_.check(close, what + ": gradient of the centroids");
        if (first_sums.empty()) first_sums = sums;
        checks_.check(same(sums, first_sums), what + ": the same bits everywhere");
        check_one_pass(what, chain, d_used, d_weight, sums, squares, Context{*kernels, *pool, workspace.get()});
      }
    }
  }

 private:
  // The optimizer in the backward pass moves weight and slots as it does by the gradient that two passes leave in memory.
  void check_one_pass(const std::string& what, const WeightChain& chain, std::vector<float> d_used, const std::vector<float>& d_weight,
                      const std::vector<float>& d_centroids, double squares, const Context& context) {
    const std::vector<float> weight(chain.weight, chain.weight + chain.size), zeros(weight.size());
    UpdateSettings settings{0.01f};
    settings.mask = chain.mask;
    settings.masks_weight = chain.mask != nullptr;
    for (const bool sgd : {false, true}) {
      const auto update_of = [&](std::vector<std::vector<float>>& state) {
        return sgd ? TensorUpdate::sgd(settings, 0.9f, true, state[0].data(), state[2].data())
                   : TensorUpdate::adam(settings, AdamSettings::of(0.9, 0.999, 1e-7f, settings.learning_rate, 1), false, state[0].data(),
                                        state[1].data(), state[2].data());
      };
      std::vector<std::vector<float>> expected{zeros, zeros, weight}, state = expected;
      update_of(expected).piece(0, chain.size, d_weight.data(), *context.kernels.f32);
      WeightChain moved = chain;
      moved.weight = state[2].data();
      const TensorUpdate update = update_of(state);
      std::vector<float> gradient = d_used, sums(d_centroids.size(), 3);
      const double found = weight_chain_backward(moved, gradient.data(), gradient.data(), sums.data(), context.workspace, context.kernels,
                                                 context.pool, &update);
      checks_.check(state == expected && same(sums, d_centroids) && std::memcmp(&found, &squares, sizeof found) == 0,
                    what + ": one pass with " + (sgd ? "sgd" : "adam"));
    }
  }

  Checks& checks_;
  std::vector<const Kernels*> tables_;
  std::vector<std::unique_ptr<ThreadPool>> pools_;
};

void run_codebooks(Harness& harness, ChainOptions o, int64_t rows, int64_t channels, uint64_t& seed) {
  harness.run(o, rows, channels, ++seed);
  for (const int64_t k : {1, 5, 16, 40, 70}) {
    o.k = k;
    for (const bool per_channel : {false, true}) {
      o.codebook_per_channel = per_channel;
      for (const auto pin : {ChainOptions::no_pin, ChainOptions::pin_index, ChainOptions::pin_equal}) {
        o.pin = pin;
        o.average = k != 16 && pin == ChainOptions::pin_equal;
        harness.run(o, rows, channels, ++seed);
      }
    }
  }
}

// Every way a range follows the weights (spec 3.4), with and without a codebook.
void run_range_rules(Harness& harness, uint64_t& seed) {
  for (const auto update : {RangeUpdate::last_value, RangeUpdate::moving_average, RangeUpdate::running_min_max, RangeUpdate::none}) {
    for (const int form : {0, 1, 2, 3}) {
      for (const auto range : {ChainOptions::tensor_range, ChainOptions::channel_range}) {
        ChainOptions o;
        o.mask = ChainOptions::mask_gradient;
        o.range = range;
        o.rule = {update, form % 2 == 1, form >= 2, form == 0 ? 3 : 8, 0.125f};
        o.training = update == RangeUpdate::none || form != 3;
        harness.run(o, 19, 21, ++seed);
        harness.run(o, 700, 33, ++seed);
        o.k = 6;
        o.codebook_per_channel = form == 1;
        o.pin = ChainOptions::pin_index;
        harness.run(o, 19, 21, ++seed);
      }
    }
  }
}

// Codebooks of every size of search, codebooks that the thresholds cannot decide, and weights that are written past the cache.
void run_large(Harness& harness, uint64_t& seed) {
  ChainOptions o;
  o.mask = ChainOptions::mask_gradient;
  o.range = ChainOptions::tensor_range;
  o.pin = ChainOptions::pin_index;
  for (const int64_t k : {2, 3, 8, 17, 32, 33, 64, 65, 128, 200, 256, 257, 512, 700, 1024, 1025}) {
    o.k = k;
    harness.run(o, 61, 33, ++seed);
  }
  o.extreme = true;
  for (const int64_t k : {5, 16, 40, 300}) {
    o.k = k;
    harness.run(o, 300, 33, ++seed);
  }
  o.extreme = false;
  o.k = 5;
  for (const auto mask : {ChainOptions::no_mask, ChainOptions::masked}) {
    o.mask = mask;
    harness.run(o, 34953, 31, ++seed);
  }
}

// Used weights and indices that no forward pass would leave: what counting them finds, on every instruction set.
void test_violations(Checks& checks) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  Random random(77);
  const auto one_in = [&](int64_t n) { return random.between(1, n) == 1; };
  for (const int64_t columns : {1, 3, 16, 41}) {
    for (const int64_t k : {1, 5, 32, 33, 70}) {
      for (const bool per_channel : {false, true}) {
        const int64_t rows = 37, size = rows * columns;
        const std::vector<float> book = random.floats(k * (per_channel ? columns : 1));
        std::vector<float> used;
        std::vector<uint8_t> mask;
        std::vector<int32_t> indices;
        for (int64_t i = 0; i < size; ++i) {
          const int64_t index = random.between(0, k - 1);
          indices.push_back(one_in(9) ? static_cast<int32_t>(one_in(2) ? k : -1 - index) : static_cast<int32_t>(index));
          const float value = book[static_cast<size_t>((per_channel ? i % columns * k : 0) + index)];
          used.push_back(one_in(7) ? (one_in(2) ? 1e-40f : std::nextafter(value, 2.0f)) : one_in(5) ? -0.0f : value);
          mask.push_back(!one_in(3));
        }
        const Source clustered{book.data(), nullptr, indices.data(), per_channel ? k : 0, k};
        for (const Source& table : {Source{nullptr}, clustered}) {
          for (const uint8_t* m : {static_cast<const uint8_t*>(nullptr), static_cast<const uint8_t*>(mask.data())}) {
            const ChainViolations expected = reference_violations(rows, columns, used.data(), m, table);
            for (int t = 0; t < count; ++t) {
              ChainViolations found{3, 4};  // it adds
              tables[t]->compression->count_violations(rows, columns, used.data(), m, table, &found);
              checks.check(found.zeros == expected.zeros + 3 && found.clusters == expected.clusters + 4,
                           "violations in " + std::to_string(columns) + " columns, k " + std::to_string(k) + " on " + tables[t]->isa);
            }
          }
        }
      }
    }
  }
}

}  // namespace

void test_weight_chain(Checks& checks) {
  Harness harness(checks);
  uint64_t seed = 100;
  const int64_t shapes[][2] = {{1, 1}, {5, 3}, {19, 40}, {150, 1}};
  for (const auto& shape : shapes) {
    for (const auto mask : {ChainOptions::no_mask, ChainOptions::masked, ChainOptions::mask_gradient}) {
      for (const auto range : {ChainOptions::no_range, ChainOptions::tensor_range, ChainOptions::channel_range}) {
        ChainOptions o;
        o.mask = mask;
        o.range = range;
        run_codebooks(harness, o, shape[0], shape[1], seed);
      }
    }
  }
  // Several chunks; other bit widths; inference.
  for (const bool training : {true, false}) {
    for (const auto range : {ChainOptions::tensor_range, ChainOptions::channel_range}) {
      ChainOptions o;
      o.mask = training ? ChainOptions::masked : ChainOptions::mask_gradient;
      o.range = range;
      o.rule.bits = training ? 4 : 8;
      o.training = training;
      harness.run(o, 900, 33, ++seed);
      o.k = 16;
      o.pin = ChainOptions::pin_index;
      harness.run(o, 900, 33, ++seed);
      harness.run(o, 30000, 1, ++seed);
      harness.run(o, 2, 20000, ++seed);
      o.codebook_per_channel = true;
      harness.run(o, 5000, 5, ++seed);
    }
  }
  run_range_rules(harness, seed);
  run_large(harness, seed);
  test_violations(checks);
}

}  // namespace pcqat::test
