"""Kernels: arrays in, arrays out; no xarray, no dask, no pint."""
