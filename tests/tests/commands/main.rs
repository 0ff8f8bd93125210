//! Every `mb-lb-ctl ...` that a document has is understood by the parser of the command line, and those in blocks do what the
//! manual says where it can be tried: on a pair of directors whose configuration is the manual's own example.

mod lines;
mod parse;
mod run;
