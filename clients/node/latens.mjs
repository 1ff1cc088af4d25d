// A small client of Latens for Node: typed arrays in, typed arrays out.
//
// It needs this file and latens.proto beside it: `npm pack` makes a package of both.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

// Beside this file in a package or a copy, or where the repository has it.
const PLACES = ["./latens.proto", "../../proto/latens/v1/latens.proto"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)));

function contract() {
  const found = PLACES.find(existsSync);
  if (!found) throw new Error(`no contract: expected ${PLACES.join(" or ")}`);
  return found;
}

// google.rpc.Status and the two of its details that are read here.
const rpc = protobuf.parse(`
  syntax = "proto3";
  package rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }
`, { keepCase: true }).root;

// Every call is pure, so each may be sent again when no server has taken it.
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{
    name: [{ service: "latens.v1.LatentService" }],
    retryPolicy: {
      maxAttempts: 5,
      initialBackoff: "0.1s",
      maxBackoff: "5s",
      backoffMultiplier: 2,
      retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    },
  }],
};

/** A call that failed: `code`, `reason` and `fieldViolations` are the server's. */
export class LatensError extends Error {
  constructor(error) {
    super(error.details);
    this.name = "LatensError";
    this.code = grpc.status[error.code];
    const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = packed ? rpc.lookupType("rpc.Status").decode(packed).details : [];
    const read = (type) => {
      const found = details.find((detail) => detail.type_url.endsWith(`/google.rpc.${type}`));
      return found ? rpc.lookupType(`rpc.${type}`).decode(found.value) : undefined;
    };
    this.reason = read("ErrorInfo")?.reason ?? "";
    this.fieldViolations = read("BadRequest")?.field_violations ?? [];
  }
}

/** The contract's Tensor of a Float32Array or Uint8Array. */
export function tensor(values, shape) {
  const dtype = values instanceof Uint8Array ? "DATA_TYPE_UINT8" : "DATA_TYPE_FLOAT32";
  return { dtype, shape, data: Buffer.from(values.buffer, values.byteOffset, values.byteLength) };
}

/** `{ shape, values }` of a Tensor; floats are copied, since their bytes may be unaligned. */
export function array({ dtype, shape, data }) {
  if (dtype === "DATA_TYPE_UINT8") return { shape, values: new Uint8Array(data) };
  if (dtype !== "DATA_TYPE_FLOAT32") throw new TypeError(`expected DATA_TYPE_FLOAT32 or DATA_TYPE_UINT8, got ${dtype}`);
  return { shape, values: new Float32Array(Uint8Array.from(data).buffer) };
}

/** A connection: `await client.call("Decode", { latents: tensor(...) })`. */
export class Client {
  constructor(address, {
    credentials = grpc.credentials.createInsecure(), timeout = 60_000, proto = contract(),
  } = {}) {
    const definition = loadSync(proto, { keepCase: true, longs: Number, enums: String });
    const { LatentService } = grpc.loadPackageDefinition(definition).latens.v1;
    this.timeout = timeout;
    this.stub = new LatentService(address, credentials, {
      "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
      "grpc.max_receive_message_length": 256 * 2 ** 20,
    });
  }

  call(method, request, { timeout = this.timeout } = {}) {
    const deadline = new Date(Date.now() + timeout);
    return new Promise((resolve, reject) => {
      this.stub[method](request, { deadline }, (error, response) =>
        error ? reject(new LatensError(error)) : resolve(response));
    });
  }

  close() {
    this.stub.close();
  }
}
