// How work is cut.
#include "ops/chunks.h"

#include "check.h"

namespace pcqat::test {

void test_chunks(Checks& checks) {
  Random random(90);
  bool covers = true, bounded = true, even = true, equal = true;
  for (int i = 0; i < 20000; ++i) {
    const int64_t total = random.between(0, random.between(0, 1) == 0 ? 300 : 100'000), step = random.between(1, 24);
    const int64_t most = 2 * random.between(1, 40);
    const int64_t smallest = random.between(0, 1) == 0 ? random.between(0, 2000) : (total + most - 1) / most;
    const Chunks chunks = chunks_of(total, smallest, step);
    covers = covers && (chunks.count == 0 ? total == 0 : chunks.length(chunks.count - 1) > 0 && chunks.end(chunks.count - 1) == total);
    bounded = bounded && chunks.count <= kMaxChunks && (smallest * most < total || chunks.count <= most) && chunks.size % step == 0;
    // Nothing but the step stands in the way of an even number of them, all but the last as long as they have to be.
    const int64_t finer = chunks.size - step;
    even = even && (chunks.count % 2 == 0 || chunks.count <= 1 || finer * (chunks.count + 1) < total);
    equal = equal && (chunks.count <= 1 || finer * (chunks.count + chunks.count % 2) < total);
  }
  checks.check(covers, "chunks: all items");
  checks.check(bounded, "chunks: number and step");
  checks.check(even, "chunks: an even number");
  checks.check(equal, "chunks: equal parts");
}

}  // namespace pcqat::test
