"""The fast front end: unary gRPC over HTTP/2 on asyncio, written for this service's messages.

`grpc.aio` spends more on a call than the model does. This front end parses HTTP/2 (RFC 9113) and
the gRPC protocol over it in the event loop that also forms the batches, and knows only what the
service needs: unary calls and the health service's watch. Whatever is outside of that, reflection
for example, is answered UNIMPLEMENTED; `--frontend grpcio` has it.

    listener    sockets, connections, drain
    connection  one client: frames in, streams, abuse
    inflow      request messages as they arrive
    outflow     answers as the client's windows allow
    headers     header blocks (RFC 7541) to what a call asks for
    frames      the layouts
    limits      what a client may do
    calls       one call: deadline, cancellation, status
"""
