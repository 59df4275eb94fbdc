// Writes js.json: what JavaScript makes of texts and numbers. Run with `node js.mjs`; the tests
// read the file and never run this.
import { writeFileSync } from 'node:fs'

let state = 0x2545f491
const random = (below) => {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5
  return (state >>> 0) % below
}
const pick = (list) => list[random(list.length)]

const numberTexts = ['0', '-0', '1', '-1.5', '1e21', '1e20', '1E-7', '0.000001', '1e999', '-1e999', '5e-324',
  '2.2250738585072011e-308', '123456789012345678901234567890', '0.1', '1.7976931348623157e308', '9007199254740993', '4.35', '1e+2']
const keys = ['a', 'b', '0', '1', '10', '01', '-1', '4294967294', '4294967295', '__proto__', '', 'ok', '\\u0061', '\\ud800', '\u00e9']
const strings = ['', 'a', '\\n', '\\u0000', '\\u001f', '\\ud83d\\ude00', '\\ud83d', '\\ude00\\ud83d', '\\ud83d\\ud83d\\ude00', '\u2028',
  '\\/', '\\"', '\\\\', '\x7f', '\u{1f600}', '\\b\\f\\r\\t', '\\uD83Dx', '\\u00e9', '\u{10000}\\udc00']
const space = () => pick(['', '', '', ' ', '\n', '\t\r'])
const value = (depth) => {
  const kind = random(depth > 3 ? 5 : 8)
  if (kind === 0) return pick(['null', 'true', 'false'])
  if (kind <= 2) return pick(numberTexts)
  if (kind <= 4) return `"${pick(strings)}${pick(strings)}"`
  const count = random(5)
  const parts = Array.from({ length: count }, () => kind === 5
    ? value(depth + 1)
    : `${space()}"${pick(keys)}"${space()}:${space()}${value(depth + 1)}`)
  const body = parts.join(`${space()},${space()}`)
  return kind === 5 ? `[${body}]` : `{${body}}`
}

const inputs = ['', ' ', 'nul', '01', '1.', '.5', '+1', '1e', '--1', '"\t"', '"\\x"', '"\\u12g4"', '"', '[', '[1,]', '{"a":1,}', '{a:1}',
  '[1 2]', '1 2', 'NaN', 'Infinity', '\ufeff1', '\u00a01', "'a'", '"\\', '"\\u', '{"a"', '{"a":', '[]]', '{}}', 'tru', 'truex'].map((text) => Buffer.from(text))
inputs.push(Buffer.from([0x22, 0xff, 0x22]), Buffer.from([0x22, 0xe2, 0x82, 0x22]), Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]),
  Buffer.from([0x22, 0xf0, 0x9f, 0x98, 0x22]), Buffer.from([0xff]))
for (let i = 0; i < 400; i++) inputs.push(Buffer.from(space() + value(0) + space()))
for (let i = 0; i < 150; i++) {
  const bytes = Buffer.from(value(0))
  if (bytes.length > 0) bytes[random(bytes.length)] = random(256)
  inputs.push(bytes)
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const texts = inputs.map((bytes) => {
  let out = null
  try { out = JSON.stringify(JSON.parse(decoder.decode(bytes))) } catch {}
  return [bytes.toString('hex'), out]
})

const view = new DataView(new ArrayBuffer(8))
const numbers = []
const addNumber = (bits) => {
  view.setBigUint64(0, bits)
  const number = view.getFloat64(0)
  numbers.push([bits.toString(16).padStart(16, '0'), String(number)])
}
for (const bits of [0n, 1n << 63n, 1n, 0x7ff0000000000000n, 0xfff0000000000000n, 0x7fefffffffffffffn, 0x000fffffffffffffn]) addNumber(bits)
for (let i = 0; i < 500; i++) addNumber((BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)))
for (let i = 0; i < 300; i++) {
  view.setFloat64(0, (random(2 ** 32) - 2 ** 31) * 10 ** (random(40) - 20))
  addNumber(view.getBigUint64(0))
}
const lines = (list) => list.map((entry) => JSON.stringify(entry)).join(',\n')
writeFileSync(new URL('js.json', import.meta.url), `{"texts":[\n${lines(texts)}\n],"numbers":[\n${lines(numbers.filter(([, text]) => text !== 'NaN'))}\n]}\n`)
