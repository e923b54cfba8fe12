//! The C declarations of oneDNN 3 that this crate calls. `shim.cpp` checks the constants against the header.
#![allow(unsafe_code, non_camel_case_types)]

use std::ffi::{c_char, c_int, c_uint, c_void};

pub(crate) const MAX_NDIMS: usize = 12;
pub(crate) type dims_t = [i64; MAX_NDIMS];
pub(crate) type status_t = c_int;

#[repr(C)]
pub(crate) struct Opaque {
    _private: [u8; 0],
}
pub(crate) type handle = *mut Opaque;
pub(crate) type const_handle = *const Opaque;

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct exec_arg_t {
    pub(crate) arg: c_int,
    pub(crate) memory: handle,
}

#[repr(C)]
pub(crate) struct version_t {
    pub(crate) major: c_int,
    pub(crate) minor: c_int,
    pub(crate) patch: c_int,
    pub(crate) hash: *const c_char,
    pub(crate) cpu_runtime: c_uint,
    pub(crate) gpu_runtime: c_uint,
}

pub(crate) const QUERY_IMPL_INFO_STR: c_int = 8;
pub(crate) const QUERY_EXEC_ARG_MD: c_int = 255;
pub(crate) const FORWARD_TRAINING: c_int = 64;
pub(crate) const FORWARD_INFERENCE: c_int = 96;
pub(crate) const BACKWARD: c_int = 128;
pub(crate) const CONVOLUTION_DIRECT: c_int = 1;

unsafe extern "C" {
    pub(crate) fn regraft_set_threads(threads: c_int);
    pub(crate) fn regraft_max_threads() -> c_int;
    pub(crate) fn regraft_in_parallel() -> c_int;
    pub(crate) fn regraft_parallel(
        threads: c_int,
        body: extern "C" fn(*mut c_void, c_int, c_int),
        context: *mut c_void,
    );

    pub(crate) fn dnnl_version() -> *const version_t;
    pub(crate) fn dnnl_engine_create(engine: *mut handle, kind: c_int, index: usize) -> status_t;
    pub(crate) fn dnnl_stream_create(
        stream: *mut handle,
        engine: handle,
        flags: c_uint,
    ) -> status_t;
    pub(crate) fn dnnl_stream_destroy(stream: handle) -> status_t;
    pub(crate) fn dnnl_stream_wait(stream: handle) -> status_t;

    pub(crate) fn dnnl_memory_desc_create_with_tag(
        desc: *mut handle,
        ndims: c_int,
        dims: *const i64,
        data_type: c_int,
        tag: c_int,
    ) -> status_t;
    pub(crate) fn dnnl_memory_desc_create_with_strides(
        desc: *mut handle,
        ndims: c_int,
        dims: *const i64,
        data_type: c_int,
        strides: *const i64,
    ) -> status_t;
    pub(crate) fn dnnl_memory_desc_clone(desc: *mut handle, existing: const_handle) -> status_t;
    pub(crate) fn dnnl_memory_desc_destroy(desc: handle) -> status_t;
    pub(crate) fn dnnl_memory_desc_equal(a: const_handle, b: const_handle) -> c_int;
    pub(crate) fn dnnl_memory_desc_get_size(desc: const_handle) -> usize;
    pub(crate) fn dnnl_memory_create(
        memory: *mut handle,
        desc: const_handle,
        engine: handle,
        data: *mut c_void,
    ) -> status_t;
    pub(crate) fn dnnl_memory_destroy(memory: handle) -> status_t;

    pub(crate) fn dnnl_primitive_attr_create(attr: *mut handle) -> status_t;
    pub(crate) fn dnnl_primitive_attr_destroy(attr: handle) -> status_t;
    pub(crate) fn dnnl_primitive_attr_set_scratchpad_mode(attr: handle, mode: c_int) -> status_t;
    pub(crate) fn dnnl_primitive_attr_set_post_ops(attr: handle, ops: const_handle) -> status_t;
    pub(crate) fn dnnl_post_ops_create(ops: *mut handle) -> status_t;
    pub(crate) fn dnnl_post_ops_destroy(ops: handle) -> status_t;
    pub(crate) fn dnnl_post_ops_append_eltwise(
        ops: handle,
        alg: c_int,
        alpha: f32,
        beta: f32,
    ) -> status_t;
    pub(crate) fn dnnl_post_ops_append_sum(
        ops: handle,
        scale: f32,
        zero: i32,
        data_type: c_int,
    ) -> status_t;
    pub(crate) fn dnnl_post_ops_append_binary(
        ops: handle,
        alg: c_int,
        src1: const_handle,
    ) -> status_t;

    pub(crate) fn dnnl_primitive_desc_query_md(
        pd: const_handle,
        what: c_int,
        index: c_int,
    ) -> const_handle;
    pub(crate) fn dnnl_primitive_desc_query(
        pd: const_handle,
        what: c_int,
        index: c_int,
        result: *mut c_void,
    ) -> status_t;
    pub(crate) fn dnnl_primitive_desc_destroy(pd: handle) -> status_t;
    pub(crate) fn dnnl_primitive_create(primitive: *mut handle, pd: const_handle) -> status_t;
    pub(crate) fn dnnl_primitive_execute(
        primitive: const_handle,
        stream: handle,
        nargs: c_int,
        args: *const exec_arg_t,
    ) -> status_t;
    pub(crate) fn dnnl_primitive_destroy(primitive: handle) -> status_t;

    pub(crate) fn dnnl_convolution_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        alg: c_int,
        src: const_handle,
        weights: const_handle,
        bias: const_handle,
        dst: const_handle,
        strides: *const i64,
        dilates: *const i64,
        padding_l: *const i64,
        padding_r: *const i64,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_convolution_backward_data_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        diff_src: const_handle,
        weights: const_handle,
        diff_dst: const_handle,
        strides: *const i64,
        dilates: *const i64,
        padding_l: *const i64,
        padding_r: *const i64,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_convolution_backward_weights_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        src: const_handle,
        diff_weights: const_handle,
        diff_bias: const_handle,
        diff_dst: const_handle,
        strides: *const i64,
        dilates: *const i64,
        padding_l: *const i64,
        padding_r: *const i64,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_matmul_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        src: const_handle,
        weights: const_handle,
        bias: const_handle,
        dst: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_inner_product_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        src: const_handle,
        weights: const_handle,
        bias: const_handle,
        dst: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_inner_product_backward_data_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        diff_src: const_handle,
        weights: const_handle,
        diff_dst: const_handle,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_inner_product_backward_weights_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        src: const_handle,
        diff_weights: const_handle,
        diff_bias: const_handle,
        diff_dst: const_handle,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_batch_normalization_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        src: const_handle,
        dst: const_handle,
        epsilon: f32,
        flags: c_uint,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_batch_normalization_backward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        diff_src: const_handle,
        diff_dst: const_handle,
        src: const_handle,
        epsilon: f32,
        flags: c_uint,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_layer_normalization_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        src: const_handle,
        dst: const_handle,
        stat: const_handle,
        epsilon: f32,
        flags: c_uint,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_layer_normalization_backward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        diff_src: const_handle,
        diff_dst: const_handle,
        src: const_handle,
        stat: const_handle,
        epsilon: f32,
        flags: c_uint,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_pooling_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        alg: c_int,
        src: const_handle,
        dst: const_handle,
        strides: *const i64,
        kernel: *const i64,
        dilation: *const i64,
        padding_l: *const i64,
        padding_r: *const i64,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_pooling_backward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        diff_src: const_handle,
        diff_dst: const_handle,
        strides: *const i64,
        kernel: *const i64,
        dilation: *const i64,
        padding_l: *const i64,
        padding_r: *const i64,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_eltwise_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        alg: c_int,
        src: const_handle,
        dst: const_handle,
        alpha: f32,
        beta: f32,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_eltwise_backward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        diff_src: const_handle,
        diff_dst: const_handle,
        data: const_handle,
        alpha: f32,
        beta: f32,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_binary_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        src0: const_handle,
        src1: const_handle,
        dst: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_softmax_forward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        prop: c_int,
        alg: c_int,
        src: const_handle,
        dst: const_handle,
        axis: c_int,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_softmax_backward_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        diff_src: const_handle,
        diff_dst: const_handle,
        dst: const_handle,
        axis: c_int,
        hint: const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_reorder_primitive_desc_create(
        pd: *mut handle,
        src: const_handle,
        src_engine: handle,
        dst: const_handle,
        dst_engine: handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_concat_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        dst: const_handle,
        n: c_int,
        axis: c_int,
        srcs: *const const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_sum_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        dst: const_handle,
        n: c_int,
        scales: *const f32,
        srcs: *const const_handle,
        attr: const_handle,
    ) -> status_t;
    pub(crate) fn dnnl_reduction_primitive_desc_create(
        pd: *mut handle,
        engine: handle,
        alg: c_int,
        src: const_handle,
        dst: const_handle,
        p: f32,
        eps: f32,
        attr: const_handle,
    ) -> status_t;
}
