/* Copies the text of an element: <button data-copy="ID">. Without this module the text can be selected. */

for (const button of document.querySelectorAll("[data-copy]")) {
  const word = button.querySelector("[data-word]");
  const before = word.textContent;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      word.textContent = "Copied";
    } catch {
      word.textContent = "Select it and press Ctrl+C"; // without HTTPS a browser has no clipboard
    }
    setTimeout(() => (word.textContent = before), 3000);
  });
}
