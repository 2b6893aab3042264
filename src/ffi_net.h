/* The nets of a job: ffi_net.c. */
#ifndef MIXGUIDE_FFI_NET_H
#define MIXGUIDE_FFI_NET_H

#include "core/gm.h"
#include "ffi.h"

const gm_net *ffi_net(SEXP job, uint64_t first, R_xlen_t n);
gm_points ffi_points(const gm_net *net, SEXP job, const char *name, R_xlen_t rows);

#endif
