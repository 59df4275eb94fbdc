// Every place where Weft deliberately answers otherwise than the reference loader, with the
// reason and what must hold there instead. A case that is not here must be equal to the byte.

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
        assert.equal(data(weft), data(weftAt('eval: clock')), 'every message starts with the same clock')
        assert.notEqual(data(reference), data(weft), 'the loader no longer carries its clock on: drop this')
        assert.equal(reference.replaceAll(data(reference), data(weft)), weft)
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
