(() => {
  const live = document.getElementById('live');
  const stale = document.getElementById('stale');
  if (!('refresh' in live.dataset)) return;
  // Nobody is interrupted who types, has opened a form, or is about to copy something.
  const busy = () => document.hidden || live.querySelector('details.change[open]') || !getSelection().isCollapsed;
  const refresh = async () => {
    if (busy()) return;
    try {
      const answer = await fetch(location.origin + '/stats', { cache: 'no-store', signal: AbortSignal.timeout(4000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (busy()) return;
      const focus = document.activeElement && document.activeElement.id;
      const open = [...live.querySelectorAll('details[open]')].map((details) => details.id);
      live.replaceChildren(...page.getElementById('live').childNodes);
      document.title = page.title;
      for (const id of open) {
        const details = document.getElementById(id);
        if (details) details.open = true;
      }
      const element = focus && document.getElementById(focus);
      if (element) element.focus({ preventScroll: true });
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(refresh, 5000);
})();
