//! The planner's policy, readable as worlds and plans.

mod alerts;
mod conditions;
mod diagnose;
mod fixture;
mod properties;
mod rest;
mod rollout;
mod settle;
mod simulation;
mod strategies;
