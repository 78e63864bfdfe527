//! Every test that needs a database, the network or the real binary, in one program.

fn main() {}
