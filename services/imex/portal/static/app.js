// Starts NHS.UK frontend's components, and says "copied" where a UID is copied.
import { initAll } from './vendor/nhsuk-frontend.min.js'

document.body.classList.add('js-enabled', 'nhsuk-frontend-supported')
initAll()

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]')
  if (!button) return
  await navigator.clipboard.writeText(button.dataset.copy)
  const before = button.textContent
  button.textContent = 'Copied'
  setTimeout(() => { button.textContent = before }, 2000)
})
