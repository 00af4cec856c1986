//! Agentry as a library.
