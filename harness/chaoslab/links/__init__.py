"""Links that can be cut, slowed and torn: Toxiproxy's interface, a server of it, and its client.

Between an agent and a service there is a connection, and much of what goes wrong happens there.
A proxy stands on such a connection and is told over HTTP what to do to it. The interface is that
of Toxiproxy, which teams know already, so the same words work with either of two servers: the
original, and the one of this package, which needs nothing but Python.

- `model`, `decode`: proxies and toxics as values, read from JSON as strictly as the original does
- `toxics`, `pipes`, `server`: what is done to the bytes of a connection, and who listens
- `api`: the HTTP interface
- `client`, `servers`: what the lab itself uses: one client, and where a server comes from
"""
