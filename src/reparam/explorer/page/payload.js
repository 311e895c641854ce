// The data of the page: a head of plain data, and arrays by name.

const KINDS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

export function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const { meta, arrays } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const found = {};
  for (const [name, { dtype, at, length }] of Object.entries(arrays)) {
    found[name] = new KINDS[dtype](buffer, 4 + size + at, length);
  }
  return { meta, arrays: found };
}

export async function inside(text) { // base64 of a zlib stream
  const packed = atob(text), bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return unpack(await new Response(stream).arrayBuffer());
}
