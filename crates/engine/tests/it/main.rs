//! The Docker engine, asked: these tests need one (`SLIPWAY_TEST_DOCKER_HOST`, or the usual socket) and the test
//! registry (`SLIPWAY_TEST_REGISTRY`) with the images of `scripts/build-test-images.sh`.

mod away;
mod current;
mod events;
mod hardening;
mod images;
mod instances;
mod jobs;
mod logs;
mod networks;
mod place;
mod played;
mod pull;
mod volumes;
mod wire;
