//! The real binary, from outside.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod openai_client;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod support;
