// Every place where Weft deliberately answers otherwise than the reference loader, with the
// reason and what must hold there instead; `formats` where only some differ. A case that is not
// here must be equal to the byte.

import assert from 'node:assert/strict'

const parsed = (line) => JSON.parse(line)
const data = (line) => parsed(line).response.Output.data

export const differences = new Map([
  [
    'eval: not a number',
    {
      why: `The sign of a NaN that arithmetic makes is the processor's choice: set on x86-64, clear on
        aarch64. Weft gives every NaN the same bits, so every node prints the same; the reference
        prints what its processor did.`,
      check(reference, weft) {
        assert.equal(data(weft), 'nan -nan')
        assert.ok(['-nan nan', 'nan -nan'].includes(data(reference)), data(reference))
        // Nothing else differs: with the two words exchanged the answers are the same bytes.
        const swapped = weft.replaceAll('nan -nan', '-nan nan')
        assert.ok([swapped, weft].includes(reference))
      },
    },
  ],
  [
    'eval: clock again',
    {
      why: `The loader's clock counts calls since its instance was made, so what a guest reads depends
        on when a node last made one. Weft's clock starts anew for every message.`,
      check(reference, weft, { weftAt }) {
        // C counts from its first look at the clock, which it keeps in memory: 10000 then too.
        assert.equal(data(weftAt('eval: clock')), '0.001')
        assert.equal(data(weft), '0.0')
        assert.notEqual(data(reference), data(weft), 'the loader starts its clock anew: drop this')
        assert.equal(reference.replaceAll(data(reference), data(weft)), weft)
      },
    },
  ],
  [
    'eval: a shell',
    {
      why: `In its 32-bit formats the loader gives guests a shell on its host. Weft has none to give: it
        answers as the 64-bit format does in both hosts.`,
      formats: ['wasm32-unknown-emscripten4'],
      check(reference, weft) {
        assert.equal(data(weft), 'false | nil | Function not implemented | 52')
        // The loader ran the command; Lua was not built to take its status apart: 3 is 3 * 256.
        assert.equal(data(reference), 'true | nil | exit | 768', 'the loader has changed: look again')
      },
    },
  ],
  [
    'eval: leave the program',
    {
      why: `A guest that ends its program has not answered: both trap. The text of a trap is each
        host's own and reaches no result: a node writes one constant text per kind.`,
      check(reference, weft) {
        assert.deepEqual(Object.keys(parsed(reference)), ['trap'])
        assert.deepEqual(Object.keys(parsed(weft)), ['trap'])
      },
    },
  ],
])
