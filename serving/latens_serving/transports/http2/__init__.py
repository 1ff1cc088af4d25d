"""gRPC over HTTP/2 on asyncio: a server that knows nothing of what it serves.

`ngh2` (libnghttp2) speaks HTTP/2; this package adds gRPC's framing and what a server needs that is
open to the world: limits, a bounded share of each turn of the event loop for each connection, and
one budget of memory for all. Handlers are found by path and are given a `Responder`.

    server      sockets, connections, shutdown
    lifetime    silence, standstill, idleness and age of a connection
    connection  bytes in and out, events to streams, the share of each turn
    admission   how much all connections hold together, and who must go first
    session     the only module that calls ngh2
    stream      one call: its request and its answer
    bodies      request messages as they arrive: unary and streaming
    heads       header lists to what a call asks for
    trailers    statuses to header lists
    contract    the protocols of responders and handlers
    limits      what a client may do
"""
