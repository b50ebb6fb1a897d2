# Slipway in one image: the control plane and the proxy are the same program with another command.
#
#   docker build --tag slipway .
#
# A program that is already built (static, or against a C library no newer than the runtime image's) needs no
# compiler: the stage `from-binary` takes `slipway` out of any folder, also with the classic builder.
#
#   docker build --file Dockerfile --target from-binary --tag slipway FOLDER

ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

# What both ways have in common: a user without rights, and folders that are theirs alone.
FROM ${RUNTIME_IMAGE} AS runtime
RUN mkdir -p /var/lib/slipway /run/slipway \
    && chown 65532:65532 /var/lib/slipway /run/slipway \
    && chmod 0700 /var/lib/slipway /run/slipway
ENV SLIPWAY_DATA_DIR=/var/lib/slipway \
    SLIPWAY_CONTROL_URL=unix:///run/slipway/control.sock \
    SLIPWAY_LOG_FORMAT=json
USER 65532:65532
EXPOSE 7070 8080 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/slipway"]
CMD ["serve"]

FROM runtime AS from-binary
COPY slipway /usr/local/bin/slipway

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package slipway

FROM runtime AS slipway
# The public authorities' certificates, which slim images come without.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/slipway /usr/local/bin/slipway
