#include "parallel/stages.h"

#include <thread>

#include "parallel/spin.h"

namespace pcqat {

Stages::Stages(const std::vector<int64_t>& parts) : count_(static_cast<int64_t>(parts.size())), stages_(new Stage[parts.size()]) {
  for (int64_t s = 0; s < count_; ++s) stages_[s].parts = parts[s];
}

void Stages::start() {
  for (int64_t s = 0; s < count_; ++s) {
    stages_[s].taken.store(0, std::memory_order_relaxed);
    stages_[s].finished.store(0, std::memory_order_relaxed);
  }
}

bool Stages::Stage::take(int64_t part) {
  const uint64_t bit = uint64_t{1} << part;
  return (taken.load(std::memory_order_relaxed) & bit) == 0 && (taken.fetch_or(bit, std::memory_order_acq_rel) & bit) == 0;
}

int64_t Stages::first_part(Stage& stage, int worker, int& patience) {
  return worker < stage.parts && stage.take(worker) ? worker : next_part(stage, patience);
}

int64_t Stages::next_part(Stage& stage, int& patience) {
  for (int spin = 0; !stage.is_finished(); ++spin) {
    if (spin == patience) {
      for (int64_t part = 0; part < stage.parts; ++part) {
        if (!stage.take(part)) continue;
        patience = 0;
        return part;
      }
    }
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
  return -1;
}

}  // namespace pcqat
