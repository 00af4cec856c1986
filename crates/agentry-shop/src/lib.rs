//! A small real system that can be broken, for the demo.
