//! The planner's policy, readable as worlds and plans.

mod alerts;
mod conditions;
mod diagnose;
mod domains;
mod fixture;
mod properties;
mod quarantine;
mod rest;
mod rollout;
mod settle;
mod simulation;
mod strategies;
