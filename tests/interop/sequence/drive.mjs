// What is sent to aos to have it read an item of the weave.

import * as actors from './actors.mjs'

const { owner } = actors

/** The id under which the text is offered. */
export const textId = actors.id('text')
export const text = 'The first line.\nThe second line, and the end.\n'

const boot = {
  name: 'boot',
  Id: actors.process,
  from: owner,
  data: 'the text of the process',
  rawTags: actors.processTags,
}
const file = `local file = io.open("/data/${textId}")`
const cases = [
  ['its size', `${file} local size = file:seek("end") file:close() return size`],
  ['some bytes', `${file} local read = file:read(10) file:close() return read`],
  ['all of it', `${file} return file:read("a")`],
  ['after the failure', 'return 1 + 1'],
]

/** The messages, the process itself first. */
export const reads = [boot, ...cases.map(([name, data]) => ({ name, from: owner, data, tags: { Action: 'Eval' } }))].map(
  (given, slot) => ({ name: given.name, json: JSON.stringify(actors.message(slot, given)) }),
)
