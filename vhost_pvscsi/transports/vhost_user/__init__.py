"""The vhost-user transport: one front-end, its session and its rings."""
