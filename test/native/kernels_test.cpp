// Every f32 operator, the weight chain and the fused int8 kernels on every instruction set of this CPU. Exit code 0 when all checks pass.
#include "check.h"

int main() {
  pcqat::test::Checks checks;
  pcqat::test::test_thread_pool(checks);
  pcqat::test::test_matmul(checks);
  pcqat::test::test_conv(checks);
  pcqat::test::test_conv_codes(checks);
  pcqat::test::test_depthwise(checks);
  pcqat::test::test_norm(checks);
  pcqat::test::test_elementwise(checks);
  pcqat::test::test_fake_quant(checks);
  pcqat::test::test_pool(checks);
  pcqat::test::test_chunks(checks);
  pcqat::test::test_unary(checks);
  pcqat::test::test_multiply(checks);
  pcqat::test::test_concat(checks);
  pcqat::test::test_conv_transpose(checks);
  pcqat::test::test_upsample(checks);
  pcqat::test::test_loss(checks);
  pcqat::test::test_optim(checks);
  pcqat::test::test_cluster(checks);
  pcqat::test::test_weight_chain(checks);
  pcqat::test::test_mask(checks);
  pcqat::test::test_int8_fused(checks);
  return checks.finish();
}
