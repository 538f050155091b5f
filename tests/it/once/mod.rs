//! What does not depend on the engine under test, and so runs once, on the embedded store: who is admitted and what input is taken, which
//! are decided before the store is asked; the connections of clients; the documents; and the disk of the embedded store.

mod disk;
mod matrix;
mod openapi;
mod slow_clients;
mod validation;
