//! Which actors a role has, how each is guarded, and in which order they stop.
//!
//! | actor | role | thread | stops |
//! |---|---|---|---|
//! | HTTP listener | server | actix-web workers | 1st: no new requests, those under way are answered |
//! | Heartbeat | every | its own | 2nd |
//! | Planner | master | master's | 3rd |
//! | Jobs, then Predictors | worker | their own, one for each predictor | 4th, 5th |
//! | Trainer | master | master's; fits on the compute pool | 6th: the fit ends at its next step |
//! | Registry | master | master's | 7th: a publication under way is finished |
//! | Dataset, Membership | master | master's | 8th |
//! | Models | server, worker | its own | 9th |
//! | Ingest | server | its own | last: writes that were accepted are applied |
//!
//! Every actor is replaced from its factory if it panics or does not answer; a role whose actor keeps failing ends
//! the process, because a half-working process is worse than one that is restarted.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context};
use tracing::info;
use ulex_actors::{Guard, GuardPolicy, Guarded, Heart, Heartbeat, ModelFollower, Outlet, Stop, StopOrder};
use ulex_master::dataset::Dataset;
use ulex_master::membership::Membership;
use ulex_master::planner::Planner;
use ulex_master::registry::{Registry, RegistryParts};
use ulex_master::schedule::Policy;
use ulex_master::trainer::{Trainer, TrainerParts};
use ulex_master::training::CycleSettings;
use ulex_nats::leases::FencingToken;
use ulex_nats::membership::Role;
use ulex_nats::topology::ingest;
use ulex_server::ingest::{Ingest, IngestParts};
use ulex_worker::jobs::Jobs;
use ulex_worker::predictor::Predictor;

use crate::parts::{Parts, StartError};

/// Longest time an actor is given to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);
