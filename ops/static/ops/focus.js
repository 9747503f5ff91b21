// Moves the focus to the message of a form that was refused, so that it is read first and seen first.
"use strict";

const refused = document.querySelector(".errornote, .refused[role=alert], .errorlist");
if (refused) {
  refused.tabIndex = -1;
  refused.focus();
}
