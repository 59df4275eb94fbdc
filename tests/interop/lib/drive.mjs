// The drive of `wao`, through which guests of the reference loader read items.

import { readFileSync } from 'node:fs'
import WeaveDrive from '../node_modules/wao/esm/weavedrive.js'

/** Loader options with which a guest may open `/data/ID` for each `ID=FILE`, and nothing else. */
export function drive(items) {
  const files = new Map(items.map((item) => item.split('=')))
  const { ext } = new WeaveDrive({ data: async (id) => readFileSync(files.get(id)) })
  const offering = (module, fs) => {
    const inner = ext(module, fs)
    const offers = (path) => path.startsWith('/data/') && files.has(path.slice('/data/'.length))
    const open = inner.open.bind(inner)
    return Object.assign(inner, { open: async (path) => (offers(path) ? open(path) : 0) })
  }
  // What may be read is decided above; the drive would ask a gateway.
  return { WeaveDrive: offering, mode: 'test' }
}
