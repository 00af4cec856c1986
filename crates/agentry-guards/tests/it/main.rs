//! What the guards find in labelled texts, whole and cut into pieces.

mod corpus;
mod outside;
mod quality;
mod splits;
mod wild;
