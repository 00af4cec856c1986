//! Fakes and conformance suites for tests.
