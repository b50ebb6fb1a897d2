-- Proxies take version 0 for none: a snapshot without a host or a certificate is one too. Expands only.
update route_version set version = 1 where version = 0;
