// The two things that oneDNN's C interface does not offer: a parallel region on the same OpenMP threads that its
// kernels use (a second pool would fight them for the cores), and a check that our constants are this version's.
#include "oneapi/dnnl/dnnl.h"
#include <omp.h>

extern "C" void regraft_set_threads(int threads) { omp_set_num_threads(threads); }

extern "C" int regraft_max_threads() { return omp_get_max_threads(); }

extern "C" int regraft_in_parallel() { return omp_in_parallel(); }

extern "C" void regraft_parallel(int threads, void (*body)(void *, int, int), void *context) {
#pragma omp parallel num_threads(threads)
    body(context, omp_get_thread_num(), omp_get_num_threads());
}

#define SAME(ours, theirs) static_assert(ours == static_cast<int>(theirs), #theirs)
SAME(3, dnnl_f32);
SAME(2, dnnl_bf16);
SAME(4, dnnl_s32);
SAME(5, dnnl_s8);
SAME(6, dnnl_u8);
SAME(1, dnnl_format_tag_any);
SAME(2, dnnl_a);
SAME(3, dnnl_ab);
SAME(4, dnnl_abc);
SAME(5, dnnl_abcd);
SAME(22, dnnl_acdb);
SAME(6, dnnl_abcde);
SAME(64, dnnl_forward_training);
SAME(96, dnnl_forward_inference);
SAME(128, dnnl_backward);
SAME(160, dnnl_backward_data);
SAME(1, dnnl_convolution_direct);
SAME(32, dnnl_eltwise_relu);
SAME(33, dnnl_eltwise_tanh);
SAME(40, dnnl_eltwise_hardsigmoid);
SAME(41, dnnl_eltwise_logistic);
SAME(43, dnnl_eltwise_gelu_tanh);
SAME(44, dnnl_eltwise_swish);
SAME(47, dnnl_eltwise_clip_v2);
SAME(49, dnnl_eltwise_gelu_erf);
SAME(52, dnnl_eltwise_hardswish);
SAME(256, dnnl_eltwise_relu_use_dst_for_bwd);
SAME(257, dnnl_eltwise_tanh_use_dst_for_bwd);
SAME(260, dnnl_eltwise_logistic_use_dst_for_bwd);
SAME(262, dnnl_eltwise_clip_v2_use_dst_for_bwd);
SAME(511, dnnl_pooling_max);
SAME(767, dnnl_pooling_avg_include_padding);
SAME(1023, dnnl_pooling_avg_exclude_padding);
SAME(131056, dnnl_binary_add);
SAME(131057, dnnl_binary_mul);
SAME(196594, dnnl_reduction_max);
SAME(196596, dnnl_reduction_sum);
SAME(196598, dnnl_reduction_mean);
SAME(196608, dnnl_softmax_accurate);
SAME(196609, dnnl_softmax_log);
SAME(1, dnnl_scratchpad_mode_user);
SAME(1, dnnl_cpu);
SAME(1, dnnl_stream_in_order);
SAME(1, dnnl_use_global_stats);
SAME(2, dnnl_use_scale);
SAME(4, dnnl_use_shift);
SAME(8, dnnl_fuse_norm_relu);
SAME(8, dnnl_query_impl_info_str);
SAME(255, dnnl_query_exec_arg_md);
static_assert(sizeof(dnnl_exec_arg_t) == 16, "dnnl_exec_arg_t");
static_assert(DNNL_MAX_NDIMS == 12, "DNNL_MAX_NDIMS");
