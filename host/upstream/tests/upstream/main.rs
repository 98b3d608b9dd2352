//! One connection, many sessions: over in-memory pipes with a scripted instance, and over real ones.

mod adoption;
mod hostile;
mod lifecycle;
mod multiplex;
mod peer;
mod questions;
mod sharing;
