// How work is cut.
#include "ops/chunks.h"

#include <algorithm>
#include <limits>

#include "check.h"

namespace pcqat::test {

void test_chunks(Checks& checks) {
  Random random(90);
  bool covers = true, whole_steps = true, bounded = true, even = true, equal = true, scales = true, two_at_least = true;
  for (int i = 0; i < 20000; ++i) {
    const int64_t total = random.between(0, random.between(0, 1) == 0 ? 300 : 100'000), step = random.between(1, 24);
    const int64_t most = 2 * random.between(1, 40);
    const int64_t smallest = random.between(0, 1) == 0 ? random.between(0, 2000) : (total + most - 1) / most;
    const int64_t two = random.between(0, 1) == 0 ? random.between(1, 2000) : std::numeric_limits<int64_t>::max();
    const Chunks chunks = chunks_of(total, smallest, step, two);
    const int64_t steps = (total + step - 1) / step;
    int64_t at = 0, shortest = steps, longest = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const int64_t length = chunks.length(chunk), whole = (length + step - 1) / step;
      covers = covers && chunks.begin(chunk) == at && length > 0;
      whole_steps = whole_steps && (length % step == 0 || chunk == chunks.count - 1);
      at = chunks.end(chunk);
      shortest = std::min(shortest, whole);
      longest = std::max(longest, whole);
    }
    covers = covers && at == total;
    bounded = bounded && chunks.count <= kMaxChunks && (smallest * most < total || chunks.count <= most);
    even = even && (chunks.count % 2 == 0 || chunks.count <= 1 || chunks.count == steps);
    equal = equal && (chunks.count == 0 || longest - shortest <= 1);
    two_at_least = two_at_least && (total < two || chunks.count >= std::min<int64_t>(steps, 2));
    const Chunks parts = chunks.of(3);
    scales = scales && parts.count == chunks.count;
    for (int64_t chunk = 0; chunk < parts.count; ++chunk) scales = scales && parts.begin(chunk) == 3 * chunks.begin(chunk);
    scales = scales && (parts.count == 0 || parts.end(parts.count - 1) == 3 * total);
  }
  checks.check(covers, "chunks: all items");
  checks.check(whole_steps, "chunks: whole steps");
  checks.check(bounded, "chunks: number");
  checks.check(even, "chunks: an even number");
  checks.check(equal, "chunks: equal parts");
  checks.check(two_at_least, "chunks: two at least");
  checks.check(scales, "chunks: of what items consist of");
}

}  // namespace pcqat::test
