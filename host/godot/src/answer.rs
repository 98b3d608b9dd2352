//! Answers: what the tools return, computed from one snapshot, each bounded in size.
//!
//! The answers share `subject`, what a question can name, and `budget`, the size of an answer.
//! A refusal is a sentence for the person or model that asked; it becomes a tool error, never a
//! protocol error, so that the client shows it.

mod budget;
mod dependencies;
mod graph;
mod project;
mod script;
mod search;
mod subject;

pub(crate) use budget::AnswerBudget;
pub(crate) use dependencies::{DependenciesAnswer, DependenciesQuery};
pub(crate) use graph::{GraphAnswer, GraphQuery};
pub(crate) use project::{ProjectAnswer, ProjectQuery};
pub(crate) use script::{ScriptAnswer, ScriptQuery, ScriptSource};
pub(crate) use search::{SearchAnswer, SearchQuery};
pub(crate) use subject::QueryRefusal;
