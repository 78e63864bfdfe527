//! geft
