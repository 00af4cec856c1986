//! Every HTTP face of Agentry.
