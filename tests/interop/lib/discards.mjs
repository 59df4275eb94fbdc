/** Whether a node keeps the memory from before a message that returned `response`. */
export function discards(response) {
  const full = 'not enough memory for buffer allocation'
  const texts = [response.Output, response.Output?.data?.output]
  return Boolean(response.Error) || texts.some((text) => typeof text === 'string' && text.endsWith(full))
}
