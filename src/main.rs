//! The program: parses the command line, wires the rooms, and turns their end into an exit status.

fn main() {}
