//! One pooled HTTP client with deadlines and size bounds, for every call outward.
