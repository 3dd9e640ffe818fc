//! Measuring models: what is learned from ([`splits`] as files, [`divided`] in general), what is asked ([`cases`]), the models
//! ([`models`], [`neighborhood`], [`clicks`], [`pipeline`]) with their [`parameters`], and the [`report`]. [`run`] is the
//! command.

pub mod cases;
pub mod clicks;
pub mod divided;
pub mod models;
pub mod neighborhood;
pub mod parameters;
pub mod pipeline;
pub mod report;
pub mod run;
pub mod splits;
