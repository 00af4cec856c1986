//! What the guards find in labelled texts, whole and cut into pieces.
#![expect(clippy::print_stdout, reason = "the measured figures are for people to read")]

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod quality;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod wild;
