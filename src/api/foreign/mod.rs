//! The surfaces of other documented systems, so that their clients work unchanged.

pub mod scaem;
