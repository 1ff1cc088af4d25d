// node example.mjs [HOST:PORT]: samples a digit, and draws it with characters.

import { Client, array } from "./latens.mjs";

const client = new Client(process.argv[2] ?? "127.0.0.1:50051");
try {
  const { images, seed } = await client.call("Sample", { count: 1, image_dtype: "DATA_TYPE_UINT8" });
  const { shape: [, , height, width], values } = array(images);
  for (let row = 0; row < height; row += 2) {
    const line = values.subarray(row * width, (row + 1) * width);
    console.log([...line].map((value) => " .:-=+*#%@"[Math.floor(value / 25.6)]).join(""));
  }
  console.log(`seed ${seed}`);
} finally {
  client.close();
}
