// Calls a server with the Node example's client; prints what came of it as JSON.

const { Client, array, tensor } = await import(process.argv[2]);
const client = new Client(process.argv[3]);

async function failure(call) {
  try {
    await call();
    return null;
  } catch ({ name, code, reason, fieldViolations, message }) {
    return { name, code, reason, fields: fieldViolations.map(({ field }) => field), message };
  }
}

const pixels = new Uint8Array(2 * 784).fill(128);
const { mean, log_var, version } = await client.call("Encode", {
  images: tensor(pixels, [2, 1, 28, 28]),
});
const means = array(mean);
const decoded = await client.call("Decode", { latents: tensor(means.values, means.shape) });
const latents = new Float32Array(16_000 * 2);
const result = {
  version,
  mean: { shape: means.shape, values: [...means.values] },
  logVarShape: log_var.shape,
  images: array(decoded.images).values.slice(0, 784).reduce((sum, value) => sum + value, 0),
  imagesShape: decoded.images.shape,
  wrongShape: await failure(() =>
    client.call("Decode", { latents: tensor(new Float32Array(3), [1, 3]) })),
  noModel: await failure(() => client.call("Sample", { model: "nobody", count: 1 })),
  deadline: await failure(() =>
    client.call("Decode", { latents: tensor(latents, [16_000, 2]) }, { timeout: 1 })),
};
client.close();
console.log(JSON.stringify(result));
