//! The supervisor and the shim together, on real processes: what is started is spoken to, adopted, stopped and swept,
//! and afterwards nothing of it is left.

mod supervision {
    mod adoption;
    mod bounds;
    mod ending;
    mod harness;
    mod holding;
    mod loss;
    mod second_process;
    mod starting;
}
