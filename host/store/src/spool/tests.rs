//! The spool alone: order, durability, bounds, and a disk that refuses.
